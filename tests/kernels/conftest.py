from symrnn.kernels import rewrites

rewrites.register()
