#pragma once
// One client connection's protocol, as a pure state machine: bytes in, requests and bytes out. It
// knows nothing of sockets, time or the store; whoever owns the connection moves the effects.
//
// Each front-end implements Session; the node drives them all alike.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/request.h"
#include "api/watch.h"
#include "base/bytes.h"
#include "base/time.h"

namespace conclave::api {

// Names a request within its session.
using CallId = std::uint64_t;

class Session {
 public:
  // What a call below made necessary; appended to, never cleared, by the session.
  struct Effects {
    struct Call {
      CallId id = 0;
      Request request;
    };
    struct Watch {
      CallId feed = 0;  // chosen by the session, like a call's id
      WatchRequest request;
    };
    std::size_t unsent = 0;  // in: what the connection still has to send of earlier `send`s
    // In: the owner calls on_drained at the end of the turn if the session wants it to, so that
    // what many answers have in common is done once.
    bool gathers = false;
    bool wants_drained = false;
    Bytes send;                     // to the client, in order
    std::vector<Call> calls;        // to be answered with on_response, in any order
    std::vector<CallId> cancelled;  // the client is no longer interested: do not answer
    std::vector<Watch> watches;     // to be answered with on_watch, in order
    std::vector<CallId> has_room;   // feeds that on_watch said no for, and that take news again
    bool close = false;             // close after `send` has left
    std::string close_reason;       // for the log, if the client misbehaved
  };

  virtual ~Session() = default;

  virtual void on_bytes(BytesView bytes, Effects& effects) = 0;
  // False: as many of the client's requests are under way as the session takes. It is shown no more
  // bytes, and none are read, until it has been told something else and says true.
  virtual bool takes_bytes() const { return true; }
  // Each call is answered at most once; answers to cancelled calls are ignored.
  virtual void on_response(CallId call, Response response, Effects& effects) = 0;
  // The first keys of a Range's answer, as many times as needed; on_response brings the rest, or an
  // Error in place of it all. False if nobody waits for it any more.
  virtual bool on_part(CallId call, const Header& header, std::vector<KeyValue> kvs,
                       Effects& effects) = 0;
  // News for a feed; `header` as its kind says (api/watch.h). False, where api::may_wait():
  // the client has to take what it was sent before; Effects::has_room will name the feed.
  virtual bool on_watch(CallId feed, const Header& header, const WatchNews& news,
                        Effects& effects) = 0;
  // News of ZooKeeper's watches and sessions, for a session that has asked for them; in order with
  // on_response.
  virtual void on_zookeeper(zk::News, Effects&) {}
  // Bytes of answers that wait here for the client to take what was sent before.
  virtual std::size_t held_bytes() const = 0;
  // Called about once a second: where a client that sends one byte a minute is found out.
  virtual void on_tick(Instant now, Effects& effects) = 0;
  // The member is stopping: tell the client (GOAWAY) and finish what is open.
  virtual void on_shutdown(Effects& effects) = 0;
  // The connection accepts bytes again after having been full, or Effects::wants_drained. A session
  // that held data back sends it now.
  virtual void on_drained(Effects& effects) = 0;
};

// What a connection itself proves of its client.
struct ClientIdentity {
  std::string common_name;  // of its verified certificate; empty: it showed none
};

// Makes a session for an accepted connection. `peer` names the client for logs.
using SessionFactory = std::move_only_function<std::unique_ptr<Session>(
    const std::string& peer, const ClientIdentity& identity)>;

}  // namespace conclave::api
