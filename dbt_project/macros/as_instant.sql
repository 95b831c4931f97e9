{# A moment as an instant. A moment without a zone is read as UTC.
   On a column that is an instant already this must cost nothing: anything but a cast to its own
   type would keep zone maps, indexes and partitions from being used. #}
{% macro as_instant(expression) -%}
    {{ return(adapter.dispatch('as_instant')(expression)) }}
{%- endmacro %}

{# PostgreSQL reads a moment without a zone in the zone of the session: run it with PGTZ=UTC. #}
{% macro default__as_instant(expression) -%}
    cast({{ expression }} as timestamp with time zone)
{%- endmacro %}

{# DuckDB knows typeof() when it plans, so only one branch is left, whatever the session's zone. #}
{% macro duckdb__as_instant(expression) -%}
    case
        when
            typeof({{ expression }}) in (
                'TIMESTAMP', 'TIMESTAMP_S', 'TIMESTAMP_MS', 'TIMESTAMP_NS', 'DATE'
            )
            then cast({{ expression }} as timestamp) at time zone 'UTC'
        else cast({{ expression }} as timestamp with time zone)
    end
{%- endmacro %}

{# Spark's timestamp is an instant; the profile sets the session's zone to UTC. #}
{% macro spark__as_instant(expression) -%}
    cast({{ expression }} as timestamp)
{%- endmacro %}
