"""What a person types and sees: arguments, messages, the live view and the closing table."""
