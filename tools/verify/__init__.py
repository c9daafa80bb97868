"""Claims to verdicts: what was said, checked against the pixels and by asking again."""

from medloupe.tools.verify._numbers import bounds
from medloupe.tools.verify.agreement import AgreementVerifier
from medloupe.tools.verify.claims import claims_from_attributes, claims_from_text
from medloupe.tools.verify.measured import MeasuredVerifier
from medloupe.tools.verify.plugins import installed, load_plugins
from medloupe.tools.verify.policy import verify_claim
from medloupe.tools.verify.probe import ProbeVerifier, read_answer, twin
from medloupe.tools.verify.ranges import with_ranges
from medloupe.tools.verify.revise import correct, measured_instead
from medloupe.tools.verify.rules import RulesVerifier
from medloupe.tools.verify.scene import MEASURED, Scene, Verifier

__all__ = [
    "MEASURED", "AgreementVerifier", "MeasuredVerifier", "ProbeVerifier", "RulesVerifier", "Scene", "Verifier",
    "bounds", "claims_from_attributes", "claims_from_text", "correct", "installed", "load_plugins", "measured_instead",
    "read_answer", "twin", "verify_claim", "with_ranges",
]  # fmt: skip
