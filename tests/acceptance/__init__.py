"""What the product promises, told as a user would."""
