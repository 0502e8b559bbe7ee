"""The rendered people that the task of pose is tested on teach here."""

from trtparse.tests.tasks.pose.conftest import drawn, stick

__all__ = ["drawn", "stick"]
