"""Methods for problems of two levels, and for games: x has an upper and a lower player."""
