"""What runs beside a learner's code, from a copy in a folder of its own: it imports nothing from here."""
