"""The catalog's migrations, run by Alembic when the service opens its catalog."""
