"""How a graph becomes a function: modes, `function`, many steps in one call, allocator."""
