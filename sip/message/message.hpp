#pragma once
// A SIP message as views over the bytes it came in. Parsing makes one pass over the header lines and keeps (id, name,
// value) views; a header's inside is parsed when asked for, every accessor returning `result`. Edits put their bytes
// into an arena whose chunks copies of the message share, so copying a message copies views only (a fork copies no text).
// A value: no locks; a copy may go to another thread, the same object may not.
#include "base/errors.hpp"
#include "sip/message/arena.hpp"
#include "sip/message/header_id.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skald::sip {

struct header_field {
  header id;
  std::string_view name;  // as it stood on the wire
  std::string_view value; // white space trimmed at both ends; folded lines (§7.3.1) unfolded to one space
};

// Limits on what a peer may send; over them: errc::too_large.
inline constexpr std::size_t message_bytes_max = 65'535;
inline constexpr std::size_t header_fields_max = 256;

class message {
public:
  // A whole message. On a datagram Content-Length may be absent (the rest is body), surplus bytes are cut off, too few
  // are errc::incomplete (sip.md §7). Leading CRLFs are skipped. Only the start line and the header lines' outer form
  // are judged here; what a request must have is `validate`'s (sip/message/validate.hpp).
  // Another version than SIP/2.0 parses; version_ok() is false then, and the answer is 505 (RFC 3261 §21.5.6).
  static result<message> parse(std::string bytes);
  // Like parse(), but header lines that are no header lines are left out and a body that ends too early is kept as it
  // is; flaws_found() tells. It is what `validate` needs to have a 400 made out of a half-broken request.
  static result<message> parse_lenient(std::string bytes);

  static message request(std::string_view method_name, std::string_view request_uri);
  static message response(int status, std::string_view reason);

  bool is_request() const { return status_ == 0; }
  method method_id() const { return method_; }           // requests; for a response: that of CSeq
  std::string_view method_name() const;                  // likewise
  std::string_view request_uri() const { return uri_; }
  int status() const { return status_; }                 // 0 for a request
  std::string_view reason() const { return reason_; }
  std::string_view body() const { return body_; }

  bool version_ok() const { return version_ok_; }
  bool flaws_found() const { return flawed_; }           // something was wrong that parse() refuses or mends silently

  std::span<const header_field> fields() const { return fields_; }
  // The whole value of the first line of that header.
  std::optional<std::string_view> line(header h) const;
  std::optional<std::string_view> line(std::string_view name) const; // for header::other
  // All single values of a header in order, over all its lines, split at top-level commas where is_comma_list.
  std::vector<std::string_view> values(header h) const;
  // The first of these.
  std::optional<std::string_view> first(header h) const;
  bool has(header h) const { return line(h).has_value(); }
  // Whether a comma list of tokens (Supported, Require, Privacy with ';' …) names this one, case-insensitively.
  bool lists(header h, std::string_view token) const;

  // ---- editing. Text given is copied into the arena; it may be a view of this message. `header::other` is edited by
  // name only.
  void set_request_uri(std::string_view uri);
  void prepend(header h, std::string_view value);       // a line of its own, above the first of its kind (else at the top)
  void append(header h, std::string_view value);        // a line of its own, below the last of its kind (else at the end)
  void append(std::string_view name, std::string_view value);
  void set(header h, std::string_view value);           // replaces all lines by one
  void remove(header h);                                // all lines
  void remove(std::string_view name);
  void remove_first_value(header h);                    // one value, not the line, if more stand in it
  void replace_first_value(header h, std::string_view value);
  // Keeps only the values (not lines) for which `keep` says so; order stays.
  template <class Keep>
  void filter_values(header h, Keep&& keep) {
    std::vector<std::string_view> kept;
    const std::vector<std::string_view> all = values(h);
    for (const std::string_view v : all)
      if (keep(v)) kept.push_back(v);
    if (kept.size() != all.size()) set_values(h, kept);
  }
  void set_values(header h, std::span<const std::string_view> values); // one line each; empty: removes
  void set_body(std::string_view content_type, std::string_view body);

  // Appends those lines of `other` for which `wanted(const header_field&)` says so, sharing their bytes.
  template <class Wanted>
  void share_fields(const message& other, Wanted&& wanted) {
    arena_.share(other.arena_);
    for (const header_field& f : other.fields_)
      if (wanted(f)) fields_.push_back(f);
    fields_changed(header::cseq);
  }

  // Content-Length is always written by these, whatever the fields say.
  void serialize_to(std::string& out) const;
  std::string serialize() const;

private:
  static result<message> parse_as(std::string bytes, bool lenient);
  bool parse_start_line(std::string_view line);
  bool take_body(std::string_view rest); // false: fewer bytes than Content-Length says
  void add_line(std::string_view name, std::string_view value);
  std::string_view keep_line(std::string_view text); // a CR or LF in it becomes a space: no caller can add a line so
  void fields_changed(header h);

  text_arena arena_;
  std::vector<header_field> fields_;
  std::string_view uri_, method_name_, reason_, body_;
  method method_ = method::other;
  int status_ = 0;
  bool version_ok_ = true;
  bool flawed_ = false;
};

} // namespace skald::sip
