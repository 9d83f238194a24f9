"""A header with smaller numbers, for `skald-sim-small` alone: its directory comes before the project's own.

base/ids.hpp: 256 partitions; every ring key gets a first byte of 0, so all keys lie in partitions 0 to 255.
dht/store/journal.hpp: the append log is rewritten from 8 KiB on, which a short run reaches many times.
Each replacement has to find its place, or the build ends here.
"""
import os
import sys

CHANGES = {
    "ids.hpp": (
        ("partition_count = 65536;", "partition_count = 256; // the small simulation"),
        ("    std::memcpy(out.bytes.data(), raw.data(), 20);\n",
         "    std::memcpy(out.bytes.data(), raw.data(), 20);\n"
         "    if constexpr (std::is_same_v<Tag, struct ring_key_tag>) out.bytes[0] = 0; // the small simulation\n"),
        ("template <class Tag>\nstruct id160 {", "struct ring_key_tag;\n\ntemplate <class Tag>\nstruct id160 {"),
        ("#include <string_view>\n", "#include <string_view>\n#include <type_traits>\n"),
    ),
    "journal.hpp": (
        ("log_rewrite_bytes_min = 1 << 20;", "log_rewrite_bytes_min = 8 << 10;"),
        ("log_rewrite_records_step = 512; ", "log_rewrite_records_step = 16; "),
    ),
}

source, target = sys.argv[1:]
text = open(source).read()
for old, new in CHANGES[os.path.basename(source)]:
    if text.count(old) != 1:
        sys.exit(f"{source}: expected once: {old!r}")
    text = text.replace(old, new)
open(target, "w").write(text)
