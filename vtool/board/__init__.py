"""How boards are reached: protocols, the drivers behind them, and the inventory that names them."""
