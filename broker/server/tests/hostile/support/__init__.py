"""What the tests need to start brokers and to talk to them byte by byte."""
