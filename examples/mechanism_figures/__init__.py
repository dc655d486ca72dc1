"""Pictures of what each catalogued mechanism looks at, in a small reader trained on real digits."""
