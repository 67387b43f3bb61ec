"""The course's im2col, which is gone: importing it says what takes its place."""

from cs231n.gone import refuse_import

refuse_import(__name__)
