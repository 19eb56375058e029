from .deepening import deeper as deeper
from .widening import wider as wider
