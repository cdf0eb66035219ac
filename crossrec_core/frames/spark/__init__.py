"""What every other package here stands on: the session, tables in and out, frames held to their contracts."""
