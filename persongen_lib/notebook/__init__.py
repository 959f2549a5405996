"""What every notebook begins with and shows."""
