#include "node/control/control_client.hpp"

#include <curl/curl.h>
#include <fmt/format.h>
#include <memory>

namespace skald::node {
namespace {

std::size_t take(char* data, std::size_t size, std::size_t count, void* to) {
  static_cast<std::string*>(to)->append(data, size * count);
  return size * count;
}

} // namespace

outcome<control_answer> ask_node(const std::string& socket_path, const std::string& method, const std::string& path,
                                 const std::map<std::string, std::string>& query, const std::string& body,
                                 int seconds) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  std::string url = "http://skald" + path;
  char separator = '?';
  for (const auto& [name, value] : query) {
    char* escaped = curl_easy_escape(curl.get(), value.data(), static_cast<int>(value.size()));
    url += fmt::format("{}{}={}", separator, name, escaped);
    curl_free(escaped);
    separator = '&';
  }
  control_answer answer;
  curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket_path.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, method.c_str());
  if (method == "POST" || method == "PUT") {
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.c_str());
  }
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, static_cast<long>(seconds));
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  if (const CURLcode code = curl_easy_perform(curl.get()); code != CURLE_OK)
    return std::unexpected(failure{fmt::format("{}: the node does not answer ({})", socket_path, curl_easy_strerror(code)),
                                   "is it running? start it with: skald run NAME.pem"});
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  return answer;
}

} // namespace skald::node
