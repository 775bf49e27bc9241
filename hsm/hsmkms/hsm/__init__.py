"""Everything that knows PKCS#11. It runs in a token worker, or in the operator's own command, and never in the front.

One process has one token, one logged-in session and one thread: nothing in here is safe to call from two threads.
"""
