"""How the demo model that ships was trained and measured."""
