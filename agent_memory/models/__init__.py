"""The models in the box: one causal language model in memory, and the embedder."""
