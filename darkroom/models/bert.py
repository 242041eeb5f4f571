"""BERT of Hugging Face's library transformers, with a classifier on the mean of its last states.

Devlin et al., "BERT: pre-training of deep bidirectional transformers for language understanding", NAACL 2019; the mean:
Reimers and Gurevych, "Sentence-BERT", EMNLP 2019. An architecture is named as by Turc et al., "Well-read students learn
better", 2019: L-6_H-384_A-12 has 6 layers of 384 units and 12 attention heads.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from darkroom.core.errors import DarkroomError
from darkroom.models.sequences import PADDING, SequenceNetwork

NAME = r"L-([1-9]\d?)_H-([1-9]\d{0,3})_A-([1-9]\d?)"
POSITIONS = 512


class Bert(SequenceNetwork):
    """Logits from the mean of the encoder's last states."""

    last_layer_name = "head"
    adapted = ("head", "bert.pooler")  # what pretrained weights need not have, or may have besides

    def __init__(
        self, shape: tuple[int, ...], classes: int, architecture: str, dropout: float = 0.1, pooler: bool = False
    ):
        from transformers import BertConfig, BertModel  # takes seconds, and imports torchvision

        super().__init__()
        layers, hidden, heads = map(int, re.fullmatch(NAME, architecture).groups())
        if hidden % heads:
            raise ValueError(f"{heads} attention heads must divide {hidden} units")
        self.bert = BertModel(
            BertConfig(
                vocab_size=shape[1],
                hidden_size=hidden,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=4 * hidden,
                max_position_embeddings=POSITIONS,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                pad_token_id=PADDING,
                attn_implementation="sdpa",
            ),
            add_pooling_layer=pooler,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, classes)

    @property
    def embedding(self) -> nn.Embedding:
        """The layer that turns tokens into vectors."""
        return self.bert.embeddings.word_embeddings

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """See `SequenceNetwork.features`."""
        # The mask as a bias (N, 1, 1, L): the library takes one of four dimensions as it is.
        bias = torch.zeros_like(mask, dtype=embedded.dtype).masked_fill(~mask, torch.finfo(torch.float16).min)
        states = self.bert(inputs_embeds=embedded, attention_mask=bias[:, None, None]).last_hidden_state
        weights = mask[..., None].to(states.dtype)
        return self.dropout((states * weights).sum(1) / weights.sum(1).clamp(min=1))


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors by the names of `Bert`, without those of the task of the pretraining and constants."""
    found = {name if name.startswith("bert.") else f"bert.{name}": tensor for name, tensor in tensors.items()}
    return {name: one for name, one in found.items() if not re.match(r"bert\.cls\.|.*position_ids$", name)}


def published(architecture: str, vocabulary: int) -> Bert:
    """The network of an architecture as it was pretrained, with a last layer of two classes.

    Raises DarkroomError if there is no such architecture.
    """
    if not re.fullmatch(NAME, architecture):
        raise DarkroomError(f"architecture = {architecture!r}: must have the form L-6_H-384_A-12.")
    return Bert((POSITIONS, vocabulary), 2, architecture, pooler=True)
