"""The only words that a descriptor may keep; all else in it is free text and goes.

Source: body parts and views as in PS3.16 Annex L and CID 4014; modalities and technique as screening and
diagnostic series are named. No word is a single letter, a number or a name; laterality has its own
attributes.
"""

from __future__ import annotations

import re
from typing import Final


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


DESCRIPTORS: Final = _words(
    """
    ABDOMEN ANGIO ANKLE AORTA AXILLA BLADDER BONE BOWEL BRAIN BREAST CAROTID CERVICAL CERVIX CHEST
    CLAVICLE COCCYX COLON CSPINE ELBOW ESOPHAGUS EXTREMITY FEMUR FOOT GALLBLADDER HAND HEAD HEADNECK HEART
    HIP HUMERUS JAW KIDNEY KNEE LEG LIVER LSPINE LUMBAR LUNG LUNGS LYMPH MAMMA MANDIBLE MEDIASTINUM NECK
    NODE ORBIT OVARY PANCREAS PELVIS PROSTATE RECTUM RENAL RIB RIBS SACRUM SHOULDER SKULL SPINE SPLEEN
    STERNUM STOMACH TESTIS THORACIC THORAX THYROID TIBIA TSPINE URETER UTERUS VAGINA VERTEBRA WHOLE
    WHOLEBODY WRIST BODY

    CC MLO LCC RCC LMLO RMLO ML LM XCCL XCCM AT SIO LAT LATERAL AP PA FRONTAL OBLIQUE MEDIOLATERAL
    CRANIOCAUDAL AXIAL CORONAL SAGITTAL TRANSVERSE AXIALS LEFT RIGHT BILATERAL UNILATERAL SUPINE PRONE
    ERECT UPRIGHT PORTABLE SPOT MAGNIFICATION MAG IMPLANT DISPLACED

    MAMMO MAMMOGRAM MAMMOGRAPHY MG MR MRI CT CXR XRAY RADIOGRAPH RADIOGRAPHY DX CR TOMO TOMOSYNTHESIS DBT
    PET SPECT ULTRASOUND LDCT MPMRI CTA MRA

    SCREENING DIAGNOSTIC FOLLOWUP BASELINE BIOPSY STAGING RAW PROCESSED PRESENTATION PROCESSING ORIGINAL
    DERIVED LOCALIZER LOCALISER SCOUT TOPOGRAM SURVIEW PLAIN NATIVE CONTRAST PRE POST ENHANCED ARTERIAL
    VENOUS PORTAL DELAYED EARLY LATE PHASE DYNAMIC DCE PERFUSION SUBTRACTION LOW DOSE THIN THICK SLICE
    HIGH RESOLUTION HRCT WINDOW SOFT TISSUE SHARP SMOOTH STANDARD KERNEL RECON RECONSTRUCTION MIP MPR
    AVERAGE

    T1 T2 T1W T2W T2STAR PD PDW DWI ADC DIFFUSION BVALUE TRACE FLAIR STIR DIXON FAT WATER SAT FATSAT SPAIR
    FS GRE TSE FSE SE EPI HASTE VIBE SPACE FLASH TRUFI BLADE PROPELLER BREATHHOLD 2D 3D SERIES IMAGE
    IMAGES VIEW
    """
)
"""What a study, series or protocol description, a body part or a comment may say."""

ETHNIC_GROUPS: Final = _words(
    """
    AFRICAN AMERICAN ARAB ASIAN BLACK CARIBBEAN CAUCASIAN CHINESE EUROPEAN HISPANIC INDIAN JAPANESE LATINO
    MIXED NON OTHER PACIFIC ROMA UNKNOWN WHITE
    """
)
"""What Ethnic Group may say: an option retains it, but the attribute is free text."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9]+")


def kept_words(text: str, vocabulary: frozenset[str], *, limit: int) -> str:
    """Return the words of a text that the vocabulary has, each once, in upper case and in their order.

    Example:
        >>> kept_words("Mammo. J. Smith, b. 1950; r-CC (CC)", DESCRIPTORS, limit=64)
        'MAMMO CC'
    """
    found = dict.fromkeys(word for word in _TOKEN.findall(text.upper()) if word in vocabulary)
    kept = " ".join(found)
    while len(kept) > limit:
        kept = kept.rpartition(" ")[0]
    return kept
