"""The rules of the key management service: values, errors, the ciphertext format and the operations.

Pure: no input or output, no gRPC, no protobuf, no PKCS#11, and no clock or random source of its own. What the operations need
from outside they get through the protocols in `ports`. Its values are safe to use from any thread: nobody changes one.
"""
