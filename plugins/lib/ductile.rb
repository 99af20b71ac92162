# frozen_string_literal: true

# What a ductile plugin in Ruby needs: read the request, answer once. Ruby 2.7 or later, standard library only.
#
#   require_relative "../lib/ductile"
#
#   Ductile.command("poll") do |request|
#     Ductile.log("info", "looked")
#     Ductile.ok("1 new item", events: [Ductile.event("feed.item", {title: "x"}, dedupe_key: "x")])
#   end
#
#   Ductile.main
#
# A command ends with `Ductile.ok(...)`, or raises `Ductile::Failure` or `Ductile::Misconfigured`. Any other exception is a
# fault of the plugin: it is the error, its backtrace goes to stderr, and the job is tried again. What is printed goes to
# stderr.
#
# Whole numbers are exact. Other numbers are read as floats, so long decimals lose digits: have them sent as text.

require "json"
require "time"

module Ductile
  EX_CONFIG = 78
  # Of a request that was made by hand, without a deadline.
  DEFAULT_SECONDS = 60.0
  # Of objects and lists in each other.
  MAX_NESTING = 1000

  # The job did not succeed, and why. With `retry: false` it is not tried again.
  class Failure < StandardError
    attr_reader :retry

    def initialize(message, retry: true)
      super(message)
      # `retry` alone would be the keyword.
      @retry = binding.local_variable_get(:retry)
    end
  end

  # The configuration is wrong: not tried again, exit code 78. The message should name the key.
  class Misconfigured < Failure
    def initialize(message)
      super(message, retry: false)
    end
  end

  # What the plugin is asked for. The keys of all hashes are strings.
  #
  # protocol     1 or 2
  # job_id       text, the same in each attempt
  # command      text
  # config       hash, the plugin's `config`; what came from `${...}` is text
  # state        hash, as the last success left it
  # event        hash with type, payload, source, timestamp, event_id and perhaps dedupe_key; nil but for `handle`
  # payload      of the event for `handle`; in protocol 2 what the job was given for another command; else {}
  # deadline_at  text, UTC
  class Request
    attr_reader :protocol, :job_id, :command, :config, :state, :event, :payload, :deadline_at

    def initialize(fields)
      @protocol = fields.fetch("protocol", 1)
      @job_id = fields.fetch("job_id", "")
      @command = fields["command"]
      @config = hash(fields, "config")
      @state = hash(fields, "state")
      if @command == "handle"
        raise Failure.new("the request has no event, which `handle` needs", retry: false) unless fields.key?("event")

        @event = hash(fields, "event")
      end
      @payload = fields.fetch("payload") { (@event || {}).fetch("payload", {}) }
      @deadline_at = fields["deadline_at"]
    end

    # Until ductile ends this process; never below 0. A request made by hand, without a deadline, has 60.
    def seconds_left
      return DEFAULT_SECONDS if deadline_at.nil?

      [Time.iso8601(deadline_at) - Time.now, 0.0].max
    end

    private

    def hash(fields, name)
      value = fields.fetch(name, {})
      return value if value.is_a?(Hash)

      raise Failure.new("`#{name}` in the request must be an object", retry: false)
    end
  end

  @commands = {}
  @logs = []
  @secrets = []

  class << self
    # Declares the block that carries out this command. It takes the Request.
    def command(name, &block)
      @commands[name] = block
    end

    # Success. `result` says in a short text what was done; protocol 2 requires it.
    #
    # `events` are made by `event`. `state` is a hash: each of its keys replaces that key of the plugin's state.
    def ok(result = nil, events: [], state: nil)
      response = {"status" => "ok"}
      response["result"] = text(result, "the result") unless result.nil?
      response["events"] = events unless events.empty?
      unless state.nil?
        raise TypeError, "the state must be a hash, not #{state.class}" unless state.is_a?(Hash)

        response["state_updates"] = state
      end
      response
    end

    # An event for `ok`. The payload is anything that JSON can hold, {} without one.
    #
    # A target that has handled an event with this key within `service.dedupe_ttl` is not given it again.
    def event(type, payload = nil, dedupe_key: nil)
      made = {"type" => text(type, "the type of an event"), "payload" => payload.nil? ? {} : payload}
      made["dedupe_key"] = text(dedupe_key, "a dedupe key") unless dedupe_key.nil?
      made
    end

    # Adds an entry to the job's log, also to that of a failure; level is debug, info, warn or error.
    def log(level, message)
      @logs << {"level" => level, "message" => message.to_s}
    end

    # Shows *** instead of these texts in result, error, logs and backtrace. Those of fewer than 4 characters stay.
    def hide(*secrets)
      @secrets.concat(secrets.select { |secret| secret.is_a?(String) && secret.length >= 4 })
      # The longest first, since one may be part of another.
      @secrets.sort_by! { |secret| -secret.length }
    end

    # The response to a request, both as JSON, and the exit code. For tests; `main` is what a plugin calls.
    def respond(text)
      @logs.clear
      @secrets.clear
      [JSON.generate(with_logs(carried_out(parsed(text))), max_nesting: MAX_NESTING), 0]
    rescue Failure => e
      [failed(e.message, e.retry), e.is_a?(Misconfigured) ? EX_CONFIG : 0]
    rescue StandardError, ScriptError, SystemExit, SystemStackError => e
      warn(hidden(e.full_message(highlight: false)))
      [failed("#{e.class}: #{e.message}", true), 1]
    end

    # Reads the request from stdin, carries it out, prints the response and ends the process.
    def main
      # Only the response may reach the real stdout, whatever is printed by the plugin, its libraries and its children.
      out = $stdout.dup
      out.close_on_exec = true
      $stdout.reopen($stderr)
      answer, code = respond($stdin.binmode.read)
      out.write(answer, "\n")
      out.close
      exit(code)
    end

    private

    def parsed(text)
      fields = JSON.parse(text.dup.force_encoding(Encoding::UTF_8), max_nesting: MAX_NESTING)
      unless fields.is_a?(Hash) && fields["command"].is_a?(String)
        raise Failure.new("the request on stdin must be a JSON object with a command", retry: false)
      end

      Request.new(fields)
    rescue JSON::NestingError => e
      raise Failure.new("the request cannot be read: #{e.message}", retry: false)
    rescue JSON::ParserError
      # Its message would show the request, with the configuration's secrets.
      raise Failure.new("the request cannot be read: it is not JSON", retry: false)
    end

    def carried_out(request)
      block = @commands[request.command]
      if block.nil?
        known = @commands.keys.join(", ")
        raise Failure.new("unknown command `#{request.command}`; there are #{known}", retry: false)
      end
      response = block.call(request)
      raise TypeError, "`#{request.command}` must end with Ductile.ok(...)" unless response.is_a?(Hash)

      if request.protocol >= 2 && response["result"].to_s.strip.empty?
        raise TypeError, "`#{request.command}` must say what it has done: Ductile.ok(\"...\"); protocol 2 requires it"
      end
      response
    end

    def with_logs(response)
      response = response.merge("result" => hidden(response["result"])) if response.key?("result")
      return response if @logs.empty?

      response.merge("logs" => @logs.map { |entry| entry.merge("message" => hidden(entry["message"])) })
    end

    def failed(message, retried)
      response = {"status" => "error", "error" => hidden(message)}
      response["retry"] = false unless retried
      JSON.generate(with_logs(response))
    end

    # Valid UTF-8, or JSON could not be made of it.
    def hidden(value)
      text = value.dup.force_encoding(Encoding::UTF_8).scrub
      @secrets.reduce(text) { |shown, secret| shown.gsub(secret) { "***" } }
    end

    def text(value, what)
      return value if value.is_a?(String) && !value.strip.empty?

      raise TypeError, "#{what} must be a text that is not blank, not #{value.inspect}"
    end
  end
end
