"""What runs there are, where each stands, and pages and curves that show it while they go on."""
