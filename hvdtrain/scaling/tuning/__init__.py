"""The search for the engine's knobs that suit a recipe."""
