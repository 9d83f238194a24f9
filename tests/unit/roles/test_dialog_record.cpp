#include "roles/core/dialog_record.hpp"

#include <doctest/doctest.h>

using namespace skald;
using namespace skald::roles;

namespace {
dialog_record sample() {
  return {"call-1",
          {"sip:alice@example.com", "a", "sip:alice@192.0.2.1", "TOKEN1", 7},
          {"", "b", "sip:bob@far.example", "", 0},
          1000,
          2000,
          "",
          dialog_end::by_callee,
          3};
}
} // namespace

TEST_CASE("dialog record: what is written is read again") {
  const auto back = decode_dialog(encode(sample()));
  REQUIRE(back);
  CHECK(*back == sample());
}

TEST_CASE("dialog record: one written before a BYE could be kept reads as one that goes on") {
  std::string bytes = encode(sample());
  bytes[0] = static_cast<char>(bytes[0] - 2); // two elements fewer
  bytes.resize(bytes.size() - 2);
  const auto back = decode_dialog(bytes);
  REQUIRE(back);
  CHECK(back->ended == dialog_end::no);
  CHECK(back->bye_cseq == 0);
}

TEST_CASE("dialog record: the item is the same whichever party speaks") {
  CHECK(dialog_item("call-1", "a", "b") == dialog_item("call-1", "b", "a"));
  CHECK(sample().item() == dialog_item("call-1", "b", "a"));
  CHECK(dialog_item("call-1", "a", "b") != dialog_item("call-2", "a", "b"));
}

TEST_CASE("dialog record: what is cut short or not a record is refused") {
  const std::string bytes = encode(sample());
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(decode_dialog(bytes.substr(0, n)).has_value());
  }
  CHECK_FALSE(decode_dialog("hello").has_value());
}
