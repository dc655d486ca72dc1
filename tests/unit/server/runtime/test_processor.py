import platform

from server.runtime.processor import CPU_INFO, processor

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
stepping\t: 8
cpu MHz\t\t: 2700.000
flags\t\t: fpu amx_bf16

processor\t: 1
cpu family\t: 6
model\t\t: 999
model name\t: another
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""


def name_of(tmp_path, content):
    (tmp_path / "cpuinfo").write_bytes(content)
    return processor(tmp_path / "cpuinfo")


def test_an_x86_processor_is_its_name_family_model_and_stepping(tmp_path):
    assert name_of(tmp_path, X86.encode()) == "; ".join(
        [
            platform.machine(),
            "model name Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            "cpu family 6",
            "model 143",
            "stepping 8",
        ]
    )


def test_an_arm_processor_is_its_maker_and_part(tmp_path):
    assert name_of(tmp_path, ARM.encode()) == f"{platform.machine()}; CPU implementer 0x41; CPU part 0xd0c"


def test_the_clock_of_the_moment_changes_nothing(tmp_path):
    assert name_of(tmp_path, X86.encode()) == name_of(tmp_path, X86.replace("2700.000", "1200.0").encode())


def test_what_tells_nothing_leaves_the_architecture(tmp_path):
    assert name_of(tmp_path, b"") == name_of(tmp_path, b"\xff\xfe no such line") == platform.machine()
    assert processor(tmp_path / "none") == processor(tmp_path) == platform.machine()


def test_this_processor_is_told_the_same_each_time():
    assert processor() == processor(CPU_INFO) != ""
