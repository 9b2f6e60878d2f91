"""What tests share: small runs, servers, and stand-ins for outside services."""
