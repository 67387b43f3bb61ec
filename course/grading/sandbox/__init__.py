"""The sandbox for submitted code: `parent` starts and fences worker processes, `runtime` runs inside them."""
