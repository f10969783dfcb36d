"""Pairs for preference optimisation: the rich-feedback pipeline, its roles, and the table that pairs are kept in."""

from .chat import ChatCritic, ChatInstructor, ChatJudge, ChatServer, NonsenseAnswer
from .digits import DigitCritic, DigitEditor, DigitInstructor, RewardRelabeler
from .pipeline import Job, PipelineStopped, RichFeedback
from .roles import Critic, Editor, Instructor, Relabeler
from .sink import PairSink
from .table import PairTable, read_pairs, table_in

__all__ = [
    "ChatCritic",
    "ChatInstructor",
    "ChatJudge",
    "ChatServer",
    "Critic",
    "DigitCritic",
    "DigitEditor",
    "DigitInstructor",
    "Editor",
    "Instructor",
    "Job",
    "NonsenseAnswer",
    "PairSink",
    "PairTable",
    "PipelineStopped",
    "Relabeler",
    "RewardRelabeler",
    "RichFeedback",
    "read_pairs",
    "table_in",
]
