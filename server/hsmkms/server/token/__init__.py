"""The front's side of the token: processes, queues and the pool that implements `core.ports.Token`.

Nothing in here loads a PKCS#11 module or knows the PIN. Everything runs on one event loop and is not safe for threads.
"""
