# /etc/gitlab/gitlab.rb of the Praefect host, as the page of GitLab 12.9 has it.

# Other services are switched off here
postgresql['enable'] = false
redis['enable'] = false
nginx['enable'] = false
prometheus['enable'] = false
grafana['enable'] = false
unicorn['enable'] = false
sidekiq['enable'] = false
gitlab_workhorse['enable'] = false
gitaly['enable'] = false

# Only this one is on
praefect['enable'] = true

# No connections to GitLab's database
gitlab_rails['rake_cache_clear'] = false
gitlab_rails['auto_migrate'] = false

praefect['listen_addr'] = '0.0.0.0:2305'

praefect['prometheus_listen_addr'] = '0.0.0.0:9652'

praefect['auth_token'] = 'external-aaaa'

praefect['database_host'] = '10.0.0.5'
praefect['database_port'] = 5432
praefect['database_user'] = 'praefect'
praefect['database_password'] = 'sql-bbbb'
praefect['database_dbname'] = 'praefect_production'

# A client certificate
# praefect['database_sslcert'] = '/path/to/client-cert'
# praefect['database_sslkey'] = '/path/to/client-key'

# An authority of one's own
# praefect['database_sslrootcert'] = '/path/to/rootcert'

# praefect['database_sslmode'] = 'disable'

# The name of this hash is the storage that GitLab sees
praefect['virtual_storages'] = {
  'praefect' => {
    'gitaly-1' => {
      'address' => 'tcp://10.0.0.11:8075',
      'token'   => 'internal-cccc',
      'primary' => true
    },
    'gitaly-2' => {
      'address' => 'tcp://10.0.0.12:8075',
      'token'   => 'internal-cccc'
    },
    'gitaly-3' => {
      'address' => 'tcp://10.0.0.13:8075',
      'token'   => 'internal-cccc'
    }
  }
}
