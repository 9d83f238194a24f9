#include "node/streams/sip_stream.hpp"

#include "base/metrics.hpp"

namespace skald::node {
namespace {

metrics::counter unframed("skald_streams_unframed_total", "Streams closed because their bytes are no SIP messages.");

} // namespace

sip_stream::sip_stream(loop& on, const sip::flow& f, sip_stream_user& user) : loop_(on), user_(user), last_read_(on.now()) {
  facts_.flow = f;
}
sip_stream::~sip_stream() = default;

void sip_stream::attach(std::unique_ptr<tcp_stream> stream) {
  stream_ = std::move(stream);
  facts_.flow.local = stream_->local();
  facts_.flow.remote = stream_->remote();
  if (stream_->is_open()) opened_now();
  if (!ended_) stream_->start();
}

bool sip_stream::send(std::string_view bytes) { return !ended_ && stream_ && stream_->send(bytes); }

void sip_stream::when_open(opened done) {
  if (ended_ || waiting_.size() >= stream_waiters_max) return done(std::nullopt);
  if (open_) return done(facts_.flow);
  waiting_.push_back(std::move(done));
}

void sip_stream::give_up(std::string_view why) {
  const std::string text(why);
  stream_->close();
  ended(text);
}

bool sip_stream::idle(mono_time now, duration first_message, duration limit) const {
  if (!open_ || facts_.from_link()) return false; // opening has its own limit; links are kept
  const bool asked_for = any_message_ || !target_key_.empty();
  return now - last_read_ > (asked_for ? limit : first_message);
}

void sip_stream::on_stream_open() {
  facts_.flow.local = stream_->local();
  if (stream_->tls() != nullptr) facts_.sni = stream_->tls()->server_name();
  opened_now();
}

void sip_stream::opened_now() {
  user_.on_sip_open(*this);
  if (ended_) return;
  open_ = true;
  std::vector<opened> callers;
  callers.swap(waiting_);
  for (opened& c : callers) c(facts_.flow);
}

void sip_stream::on_stream_bytes(std::string_view plain) {
  if (ended_) return;
  last_read_ = loop_.now();
  facts_.at = last_read_;
  framer_.feed(plain);
  while (!ended_ && take(framer_.next())) {}
}

bool sip_stream::take(sip::frame f) {
  switch (f.kind) {
  case sip::frame_kind::nothing: return false;
  case sip::frame_kind::message:
    any_message_ = true;
    user_.on_sip_message(*this, std::move(f.bytes));
    return true;
  case sip::frame_kind::ping:
    stream_->send("\r\n"); // RFC 5626 §4.4.1
    return true;
  case sip::frame_kind::pong: return true;
  case sip::frame_kind::error:
    unframed.add();
    // What is whole of it may still be answered before the stream goes (RFC 3261 §18.3).
    if (!f.bytes.empty()) user_.on_sip_message(*this, std::move(f.bytes));
    if (!ended_) give_up("not SIP");
    return false;
  }
  return false;
}

void sip_stream::on_stream_closed(std::string_view why) { ended(why); }

void sip_stream::ended(std::string_view why) {
  if (ended_) return;
  ended_ = true;
  std::vector<opened> callers;
  callers.swap(waiting_);
  user_.on_sip_closed(*this, open_, why);
  for (opened& c : callers) c(std::nullopt);
}

} // namespace skald::node
