"""Classical registration tools, each to a displacement in mm on the fixed image's lattice.

They are packages of the extra `bench`, imported when asked for. Every tool is a function of the fixed and the moving
`Volume`, `init` ("header", "centre" or "moments", where the registration starts) and the number of threads, which
returns the displacement, `(i, j, k, 3)` float32 RAS+ mm, and the seconds from volumes in memory to the tool's own
result: turning that into one displacement is not counted.
"""
