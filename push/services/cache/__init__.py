"""The cache service: messages until they are acknowledged, handed over, expired or cancelled."""
