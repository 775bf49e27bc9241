"""The command line's KMS operations, with the AWS CLI's names, options and output; built on `hsmkms.client` alone.

`hsmkms.cli.main` says how a program is composed of them and of commands of its own.
"""
