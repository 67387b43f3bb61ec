"""Where submitted code runs: `parent` starts and fences workers, `runtime` is what runs in them."""
