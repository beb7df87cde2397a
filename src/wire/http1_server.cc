#include "wire/http1_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>

#include "base/check.h"
#include "base/text.h"

namespace conclave::wire {
namespace {

namespace http = boost::beast::http;

BytesView view(boost::beast::string_view text) { return {text.data(), text.size()}; }

int status_of(boost::beast::error_code error) {
  if (error == http::error::body_limit) return 413;
  if (error == http::error::header_limit) return 431;
  return 400;
}

// `length`: the header field that says how long the body is, if any.
void write_header(int status, const Http1Response& response, BytesView length, bool keep_alive,
                  Bytes& out) {
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\nContent-Type: {}\r\n{}", status,
                 http1_reason(status), response.content_type, length);
  if (!response.extra_header.empty()) {
    out += response.extra_header;
    out += "\r\n";
  }
  if (!keep_alive) out += "Connection: close\r\n";
  out += "\r\n";
}

void write(int status, const Http1Response& response, bool keep_alive, bool with_body, Bytes& out) {
  const std::size_t length = response.body.size() + response.more_body_bytes;
  write_header(status, response, fmt::format("Content-Length: {}\r\n", length), keep_alive, out);
  if (with_body) out += response.body;
}

}  // namespace

BytesView http1_reason(int status) {
  return view(http::obsolete_reason(static_cast<http::status>(status)));
}

struct Http1Server::Parser {
  explicit Parser(const Http1Options& options) {
    parser.eager(true);
    parser.header_limit(options.max_header_bytes);
    parser.body_limit(options.max_body_bytes);
  }
  http::request_parser<http::string_body> parser;
  bool continued = false;  // the client has been told to go on
};

Http1Server::Http1Server(const Http1Options& options)
    : options_(options),
      parser_(std::make_unique<Parser>(options)),
      buffered_(options.all_buffers) {}
Http1Server::~Http1Server() = default;

const Http1Request* Http1Server::request() const { return request_ ? &*request_ : nullptr; }

void Http1Server::receive(BytesView bytes, Bytes& out) {
  if (finished_) return;
  if (!buffered_.has_room(bytes.size())) {
    if (!request_) return refuse(503, "too many requests", out);
    complaint_ = "too much sent ahead";
    finished_ = true;
    return;
  }
  input_.append(bytes);
  parse(out);
  count_buffered();
  if (finished_ || ahead().size() <= options_.max_body_bytes + options_.max_header_bytes) return;
  complaint_ = "too much sent ahead";
  finished_ = true;
}

void Http1Server::count_buffered() {
  const std::size_t body = request_ ? request_->body.size() : parser_->parser.get().body().size();
  buffered_.set(input_.size() + body);
}

void Http1Server::parse(Bytes& out) {
  while (!finished_ && !request_ && !ahead().empty()) {
    const std::size_t before = parsed_;
    step(out);
    if (parsed_ == before && !request_) break;  // the parser wants more
  }
  // Not after each of many small requests.
  if (parsed_ < input_.size() - parsed_) return;
  input_.erase(0, parsed_);
  parsed_ = 0;
}

void Http1Server::step(Bytes& out) {
  auto& parser = parser_->parser;
  boost::beast::error_code error;
  parsed_ += parser.put(boost::asio::buffer(ahead()), error);
  if (error && error != http::error::need_more) {
    return refuse(status_of(error), "bad request: " + error.message(), out);
  }
  if (parser.is_done()) return complete();
  if (parser.is_header_done() && !parser_->continued) {
    parser_->continued = true;
    if (lower_case(view(parser.get()[http::field::expect])) == "100-continue") {
      out += "HTTP/1.1 100 Continue\r\n\r\n";
    }
  }
}

void Http1Server::complete() {
  auto message = parser_->parser.release();
  Http1Request& request = request_.emplace();
  request.method = view(message.method_string());
  const BytesView target = view(message.target());
  const std::size_t question = std::min(target.find('?'), target.size());
  request.path = target.substr(0, question);
  if (question < target.size()) request.query = target.substr(question + 1);
  for (const auto& field : message) {
    request.headers.add(lower_case(view(field.name_string())), view(field.value()));
  }
  request.keep_alive = message.keep_alive();
  request.takes_chunks = message.version() >= 11;
  request.body = std::move(message.body());
  parser_ = std::make_unique<Parser>(options_);
  partial_since_ = {};
}

void Http1Server::respond(const Http1Response& response, Bytes& out) {
  CHECK(request_.has_value());
  const bool keep_alive = request_->keep_alive && !stopping_;
  write(response.status, response, keep_alive, request_->method != "HEAD", out);
  settle(keep_alive, out);
}

void Http1Server::begin(const Http1Response& head, Bytes& out) {
  CHECK(request_.has_value());
  CHECK(head.body.empty());
  const bool chunked = request_->takes_chunks;
  write_header(head.status, head, chunked ? "Transfer-Encoding: chunked\r\n" : "",
               chunked && request_->keep_alive && !stopping_, out);
}

void Http1Server::piece(BytesView bytes, Bytes& out) const {
  CHECK(request_.has_value());
  if (bytes.empty()) return;  // it would be the end
  if (!request_->takes_chunks) {
    out += bytes;
    return;
  }
  fmt::format_to(std::back_inserter(out), "{:x}\r\n", bytes.size());
  out += bytes;
  out += "\r\n";
}

void Http1Server::end(Bytes& out) {
  CHECK(request_.has_value());
  if (request_->takes_chunks) out += "0\r\n\r\n";
  settle(request_->takes_chunks && request_->keep_alive && !stopping_, out);
}

// The request has been answered.
void Http1Server::settle(bool keep_alive, Bytes& out) {
  request_.reset();
  if (!keep_alive) finished_ = true;
  parse(out);
  count_buffered();
}

void Http1Server::refuse(int status, std::string why, Bytes& out) {
  write(status, {.body = why + "\n"}, false, true, out);
  complaint_ = std::move(why);
  finished_ = true;
}

void Http1Server::tick(Instant now, Bytes& out) {
  const bool partial = !request_ && (!ahead().empty() || parser_->parser.got_some());
  if (finished_ || !partial) {
    partial_since_ = {};
    return;
  }
  if (partial_since_.ns == 0) partial_since_ = now;
  if (now - partial_since_ < options_.request_deadline) return;
  refuse(408, "the request did not arrive in time", out);
}

void Http1Server::shutdown() {
  stopping_ = true;
  if (!request_) finished_ = true;
}

}  // namespace conclave::wire
