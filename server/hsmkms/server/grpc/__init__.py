"""The gRPC face of the service: TLS, who is calling, messages and errors. What an operation means is core's."""
