"""How good sentences are: corpus scores over several references for each picture.

Every metric takes tokenised sentences: `hypotheses`, one for each picture, and `references`, for
each picture one or more.
"""

from captioning.metrics.bleu import bleu
from captioning.metrics.cider import cider_d
from captioning.metrics.corpus import Hypotheses, References, check, score
from captioning.metrics.meteor import meteor
from captioning.metrics.rouge import rouge_l

__all__ = ["Hypotheses", "References", "bleu", "check", "cider_d", "meteor", "rouge_l", "score"]
