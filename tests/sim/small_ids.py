"""base/ids.hpp with 256 partitions: every ring key gets a first byte of 0, so all keys lie in partitions 0 to 255.

For `skald-sim-small` alone. Each replacement has to find its place, or the build ends here.
"""
import sys

source, target = sys.argv[1:]
text = open(source).read()
for old, new in (
    ("partition_count = 65536;", "partition_count = 256; // the small simulation"),
    ("    std::memcpy(out.bytes.data(), raw.data(), 20);\n",
     "    std::memcpy(out.bytes.data(), raw.data(), 20);\n"
     "    if constexpr (std::is_same_v<Tag, struct ring_key_tag>) out.bytes[0] = 0; // the small simulation\n"),
    ("template <class Tag>\nstruct id160 {", "struct ring_key_tag;\n\ntemplate <class Tag>\nstruct id160 {"),
    ("#include <string_view>\n", "#include <string_view>\n#include <type_traits>\n"),
):
    if text.count(old) != 1:
        sys.exit(f"{source}: expected once: {old!r}")
    text = text.replace(old, new)
text = text.replace("struct ring_key_tag>) out", "ring_key_tag>) out")
open(target, "w").write(text)
