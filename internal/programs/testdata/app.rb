# ActiveRecord: migrations with their advisory lock, models, nested transactions; ruby-pg for LISTEN.
require 'active_record'

ActiveRecord::Base.establish_connection(
  adapter: 'postgresql', host: ENV['PGHOST'], port: ENV['PGPORT'], username: ENV['PGUSER'], database: ENV['PGDATABASE'], pool: 8
)

class CreateThings < ActiveRecord::Migration[6.1]
  def change
    create_table(:ruby_things) { |t| t.string :name, index: { unique: true }; t.jsonb :doc; t.timestamps }
  end
end

class Thing < ActiveRecord::Base
  self.table_name = 'ruby_things'
end

def work
  ActiveRecord::Migration.verbose = false
  CreateThings.migrate(:up)
  threads = 8.times.map do |n|
    Thread.new do
      ActiveRecord::Base.connection_pool.with_connection do
        10.times { |i| Thing.create!(name: "#{n}-#{i}", doc: { n: n }) }
        raise 'found' unless Thing.find_by(name: "#{n}-3").doc == { 'n' => n }
      end
    end
  end
  threads.each(&:join)
  begin
    Thing.transaction do
      Thing.delete_all
      Thing.transaction(requires_new: true) { Thing.create!(name: '0-0') && Thing.create!(name: '0-0') }
    end
    raise 'no error'
  rescue ActiveRecord::RecordNotUnique
  end
  raise 'count' unless Thing.count == 80
  raise 'batches' unless Thing.find_each(batch_size: 7).count == 80
  Thing.transaction { Thing.lock.first.update!(name: 'locked') }
  raise 'columns' unless Thing.columns.map(&:name).include?('doc')
  CreateThings.migrate(:down)
end

def listen
  a = PG.connect
  b = PG.connect
  a.exec('listen ruby')
  b.exec("notify ruby, 'hello'")
  heard = nil
  a.wait_for_notify(30) { |_, _, payload| heard = payload }
  raise 'notification' unless heard == 'hello'
  a.exec('unlisten ruby')
  b.send_query('select pg_sleep(600)')
  sleep 1
  b.cancel
  begin
    b.get_last_result
    raise 'not canceled'
  rescue PG::QueryCanceled
  end
end

send(ARGV[0])
