"""The models in the box: one causal language model in memory, and the embedder.

Threads of torch that wait for each other spin, by default for so long that two processes on the same cores
take each other's time: in a trial on two cores each was up to fifty times slower than alone, and six with a
shorter spin, which alone was hardly slower (1.2 to 1.6 s against 1.2). It has to be set before torch is
loaded; whoever has set how threads wait has the last word.
"""

import os

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "10000"
