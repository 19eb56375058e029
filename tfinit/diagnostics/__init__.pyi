from .advising.advice import recommend as recommend
from .advising.recommendation import Recommendation as Recommendation
from .diagnosis import Diagnosis as Diagnosis
from .diagnosis import diagnose as diagnose
from .judging.findings import KINDS as KINDS
from .judging.findings import Finding as Finding
