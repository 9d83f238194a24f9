#include "sip/message/message.hpp"

#include "base/encoding.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/lex.hpp"

#include <algorithm>
#include <charconv>

namespace skald::sip {

namespace {

constexpr auto npos = std::string_view::npos;

// Calls `each` for every non-empty value of the line until it returns false. False if it did.
template <class Each>
bool split_line(std::string_view line, char separator, Each&& each) {
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = lex::find_top_level(line, separator, at);
    const std::string_view one = lex::trim(line.substr(at, end == npos ? npos : end - at));
    if (!one.empty() && !each(one)) return false;
    if (end == npos) break;
    at = end + 1;
  }
  return true;
}

template <class Each>
void for_each_value(std::span<const header_field> fields, header h, Each&& each) {
  const bool list = is_comma_list(h);
  for (const header_field& f : fields) {
    if (f.id != h) continue;
    if (!list ? !each(f.value) : !split_line(f.value, ',', each)) return;
  }
}

void append_number(std::string& out, std::size_t n) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, n).ptr;
  out.append(digits, end);
}

} // namespace

message message::request(std::string_view method_name, std::string_view request_uri) {
  message out;
  out.method_name_ = out.keep_line(method_name);
  out.method_ = method_from(method_name);
  out.uri_ = out.keep_line(request_uri);
  return out;
}

message message::response(int status, std::string_view reason) {
  SKALD_ASSERT(status >= 100 && status <= 999);
  message out;
  out.status_ = status;
  out.reason_ = out.keep_line(reason);
  return out;
}

std::string_view message::method_name() const { return method_name_; }

std::optional<std::string_view> message::line(header h) const {
  for (const header_field& f : fields_)
    if (f.id == h) return f.value;
  return std::nullopt;
}

std::optional<std::string_view> message::line(std::string_view name) const {
  if (const header known = header_from(name); known != header::other) return line(known);
  for (const header_field& f : fields_)
    if (f.id == header::other && equal_nocase(f.name, name)) return f.value;
  return std::nullopt;
}

std::vector<std::string_view> message::values(header h) const {
  std::vector<std::string_view> out;
  for_each_value(fields_, h, [&out](std::string_view v) {
    out.push_back(v);
    return true;
  });
  return out;
}

std::optional<std::string_view> message::first(header h) const {
  std::optional<std::string_view> out;
  for_each_value(fields_, h, [&out](std::string_view v) {
    out = v;
    return false;
  });
  return out;
}

bool message::lists(header h, std::string_view token) const {
  const char separator = h == header::privacy ? ';' : ','; // RFC 3323 §4.2
  for (const header_field& f : fields_) {
    if (f.id != h) continue;
    const bool absent = split_line(f.value, separator, [token](std::string_view one) {
      return !equal_nocase(lex::trim(one.substr(0, one.find(';'))), token);
    });
    if (!absent) return true;
  }
  return false;
}

// A response has its method from CSeq.
void message::fields_changed(header h) {
  if (h != header::cseq || is_request()) return;
  const auto seq = parse_cseq(line(header::cseq).value_or(std::string_view{}));
  method_ = seq ? seq->method_id : method::other;
  method_name_ = seq ? seq->method_name : std::string_view{};
}

// ---- editing

std::string_view message::keep_line(std::string_view text) {
  if (text.find_first_of("\r\n") == npos) return arena_.keep(text);
  std::string clean(text);
  std::ranges::replace_if(clean, [](char c) { return c == '\r' || c == '\n'; }, ' ');
  return arena_.keep(clean);
}

void message::set_request_uri(std::string_view uri) { uri_ = keep_line(uri); }

void message::prepend(header h, std::string_view value) {
  SKALD_ASSERT(h != header::other);
  auto at = std::ranges::find(fields_, h, &header_field::id);
  if (at == fields_.end()) at = fields_.begin();
  fields_.insert(at, {h, to_string(h), keep_line(value)});
  fields_changed(h);
}

void message::append(header h, std::string_view value) {
  SKALD_ASSERT(h != header::other);
  const auto last = std::ranges::find(fields_.rbegin(), fields_.rend(), h, &header_field::id);
  const auto at = last == fields_.rend() ? fields_.end() : last.base();
  fields_.insert(at, {h, to_string(h), keep_line(value)});
  fields_changed(h);
}

void message::append(std::string_view name, std::string_view value) {
  if (const header known = header_from(name); known != header::other) return append(known, value);
  fields_.push_back({header::other, keep_line(name), keep_line(value)});
}

void message::set(header h, std::string_view value) { set_values(h, {&value, 1}); }

void message::remove(header h) {
  SKALD_ASSERT(h != header::other);
  std::erase_if(fields_, [h](const header_field& f) { return f.id == h; });
  fields_changed(h);
}

void message::remove(std::string_view name) {
  if (const header known = header_from(name); known != header::other) return remove(known);
  std::erase_if(fields_, [name](const header_field& f) { return f.id == header::other && equal_nocase(f.name, name); });
}

void message::remove_first_value(header h) {
  SKALD_ASSERT(h != header::other);
  const bool list = is_comma_list(h);
  for (auto f = fields_.begin(); f != fields_.end();) {
    if (f->id != h) {
      ++f;
      continue;
    }
    if (!list) { // a line is one value, an empty one too
      fields_.erase(f);
      break;
    }
    std::string_view rest = f->value, removed;
    while (removed.empty() && !rest.empty()) { // empty list elements are nobody's values
      const std::size_t end = lex::find_top_level(rest, ',');
      removed = lex::trim(rest.substr(0, end));
      rest = end == npos ? std::string_view{} : lex::trim_left(rest.substr(end + 1));
    }
    if (rest.empty()) f = fields_.erase(f);
    else f->value = rest;
    if (!removed.empty()) break;
  }
  fields_changed(h);
}

void message::replace_first_value(header h, std::string_view value) {
  const std::string_view kept = keep_line(value); // before the old value's line goes: `value` may be a view of it
  remove_first_value(h);
  auto at = std::ranges::find(fields_, h, &header_field::id);
  fields_.insert(at, {h, to_string(h), kept});
  fields_changed(h);
}

void message::set_values(header h, std::span<const std::string_view> values) {
  SKALD_ASSERT(h != header::other);
  const auto found = std::ranges::find(fields_, h, &header_field::id);
  const auto place = found - fields_.begin();
  std::erase_if(fields_, [h](const header_field& f) { return f.id == h; });
  auto at = fields_.begin() + place;
  for (const std::string_view v : values) at = fields_.insert(at, {h, to_string(h), keep_line(v)}) + 1;
  fields_changed(h);
}

void message::set_body(std::string_view content_type, std::string_view body) {
  if (body.empty()) remove(header::content_type);
  else set(header::content_type, content_type);
  body_ = arena_.keep(body);
}

void message::serialize_to(std::string& out) const {
  std::size_t size = uri_.size() + method_name_.size() + reason_.size() + body_.size() + 64;
  for (const header_field& f : fields_) size += f.name.size() + f.value.size() + 4;
  out.reserve(out.size() + size);
  if (is_request()) {
    out.append(method_name_).append(" ").append(uri_).append(" SIP/2.0\r\n");
  } else {
    out.append("SIP/2.0 ");
    append_number(out, static_cast<std::size_t>(status_));
    out.append(" ").append(reason_).append("\r\n"); // the space stays, whatever the phrase (RFC 3261 §25.1)
  }
  for (const header_field& f : fields_)
    if (f.id != header::content_length) out.append(f.name).append(": ").append(f.value).append("\r\n");
  out.append("Content-Length: ");
  append_number(out, body_.size());
  out.append("\r\n\r\n").append(body_);
}

std::string message::serialize() const {
  std::string out;
  serialize_to(out);
  return out;
}

} // namespace skald::sip
