"""What an operator holds: command line, configuration, supervisor, dashboard. Top floor: may import every room."""
