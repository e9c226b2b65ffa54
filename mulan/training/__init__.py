"""The training algorithm: the step, its engines, the loop and validation. It knows neither storage nor launcher."""
