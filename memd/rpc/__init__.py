"""The only code that knows gRPC: checks, conversions, status codes, identity, servicers."""
